"""Plain modules: no Lightning, no Hydra, no path, no logger inside."""
