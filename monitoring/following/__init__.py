"""Logs that the portal follows by itself: this machine's journal and usual files, and what its own processes write."""
