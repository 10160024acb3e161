"""Find, align, follow and cut out faces."""
