"""What somebody must be told of: rules, occurrences that are told once, and the channels that they are told through."""
