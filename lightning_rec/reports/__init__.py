"""What people look at: tables at the end of a run and of a sweep."""
