"""Threads, process lifetime and awaitable futures."""
