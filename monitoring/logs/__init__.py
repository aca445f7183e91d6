"""Lines of logs: taken, kept, searched, shown while they come."""
