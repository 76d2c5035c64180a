"""Taking back what is on `main`: a run, or everything since a commit."""
