"""What every room needs: errors, whole-file writes, devices, tables, provenance."""
