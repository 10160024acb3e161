"""Training and testing from the command line or Python: the detector, YAML and data are those of DeepfakeBench."""
