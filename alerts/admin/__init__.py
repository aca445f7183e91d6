"""Thresholds, people on call, silences, incidents and deliveries in the admin."""

from alerts.admin import deliveries, incidents, oncall, silences, thresholds

__all__ = ["deliveries", "incidents", "oncall", "silences", "thresholds"]
