"""The record of a measurement as JSON, and the tables printed from it."""
