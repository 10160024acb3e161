"""What every part needs: errors, whole-file writes, devices, tables, registries, provenance."""
