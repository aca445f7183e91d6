"""What an admin sees and edits of monitoring: one module per kind of thing, all imported here to be registered."""

from monitoring.admin import followed_logs, groups, jobs, metrics, push_tokens, retention, servers, simulation, sources

__all__ = ["followed_logs", "groups", "jobs", "metrics", "push_tokens", "retention", "servers", "simulation", "sources"]
