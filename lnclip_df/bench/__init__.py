"""Living inside a DeepfakeBench checkout: install, uninstall, doctor, and its scripts on a machine without a GPU."""
