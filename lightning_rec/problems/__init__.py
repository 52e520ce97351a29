"""The problems: what each of them takes, learns, measures and keeps."""
