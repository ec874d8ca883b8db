"""A network that steers, and what it looks at when it turns left, turns right, or keeps its course."""
