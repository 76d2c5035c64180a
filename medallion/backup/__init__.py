"""Copies of a lake in a second location, and a new stack made from them."""
