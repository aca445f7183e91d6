"""What of monitoring changes on a screen."""
