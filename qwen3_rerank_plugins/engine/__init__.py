"""The scoring engine: everything between a request and its ranked documents. This module imports nothing.

Modules for requests and results, which need no torch:

- `settings`: which model to load, and how.
- `request`: a query, its documents and an instruction.
- `scorer`: the protocol that local, remote and test scorers implement.
- `submission`: submits the requests of one call together, and cancels them together.
- `ranking`: turns log-odds into ranked documents and probabilities.
- `report`: logs which documents were truncated or rescored.
- `model_name`: resolves a model name so that it means the same from every directory.
- `files`: reads files of a checkpoint, with errors that name a remedy.
- `memory`: free memory, out-of-memory errors, and memory that goes back to the system.
- `control_groups`: the limits of a container.
- `local`: the scorer that loads a model and connects the folders below.

Folders:

- `text`: turns a request into token IDs, and scores of tokens back into scores of documents.
- `checkpoints`: finds, downloads and validates the files of a model.
- `scheduling`: plans batches under a token budget, and runs them on one thread per replica.
- `model`: the packed forward pass, from a batch plan to log-odds.
- `loading`: loads a checkpoint on its device, in its dtype and quantization.
- `concurrency`: threads, the lifetime of the process, and awaitable futures.
"""
