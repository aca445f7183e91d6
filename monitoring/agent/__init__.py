"""The program that runs on other machines: one file that is served, and never imported here."""
