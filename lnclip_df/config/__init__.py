"""The detector YAML: its schema, and how it is found, read and validated."""
