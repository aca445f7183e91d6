"""The ways in: one file per protocol, each turning a body into `Points`, and one door behind them all."""
