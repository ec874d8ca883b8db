"""Models for a purpose, trained and explained with `vis`."""
