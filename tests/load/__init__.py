"""Load tests: many callers at once, with and without injected faults; `python -m tests.load.soak` runs them.

- `texts`, `questions`, `expected_answers`: what is asked, and how an answer is compared with that of the serial run
- `entry_points`, `shutdown`: the interfaces that callers use, and closing them while they are used
- `faults`, `fault_injection`, `call_trace`: which faults there are, how they get into batches, and which call met which
- `work`, `callers`, `outcomes`: threads and coroutines that ask and check, and counts of the results
- `sampling`, `leak_check`: memory, threads and files over time, and memory when idle
- `run`, `results`, `tables`, `picture`: a whole run, its results, and its record as tables and as a picture
"""
