"""Knowledge graphs beside a log: read out of files, checked, as codes, and audited."""
