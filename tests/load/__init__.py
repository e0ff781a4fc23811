"""Load and faults, station by station; `tests/load/soak.py` walks them in order.

1. `texts`     where the words come from
2. `questions` texts -> requests of mixed sizes
3. `answers`   what the serial run says, and how another answer is judged by it
4. `doors`     the ways through which a caller can ask
5. `ticket`    what happened to one call on its way, noted at the seam
6. `faults`    what goes wrong, how often, and what the caller must be told
7. `seam`      the engine as a user gets it, watched, and with passes that fail when it is their turn
8. `tally`     what came of all calls
9. `closing`   engines closed while they are used
10. `callers`  threads and coroutines that ask, and hold every answer against what it must be
11. `samples`  memory, threads, files and waiting requests over time, and whether they grow
12. `rest`     what the process holds when nothing runs
13. `trial`    all of it, started and ended
14. `tables`   a record -> tables
15. `picture`  a record -> a picture
"""
