"""The scoring engine, station by station, in reading order.

A request travels in one straight line; each station is one file and one idea:

1. `settings`    what to load and how: frozen, strict
2. `request`     what is asked: one query, its documents, an instruction
3. `prompt`      request -> typed parts, control tokens apart from text
4. `checkpoint`  a model's name -> the folder that holds its files
5. `tokens`      prompt -> ids: one shared prefix, one tail a document, receipts for what was cut
6. `windows`     a text that does not fit -> overlapping windows that do
7. `packing`     lengths -> passes under a token budget, in plain ints
8. `scorer`      the seam: a request in, log-odds out; local, remote and fake engines implement it
9. `reading`     a request -> ids, long documents read as it asks; log-odds of windows -> those of documents
10. `results`    log-odds -> ranked documents
11. `receipts`   what was cut or computed twice -> one line in the log
12. `pairs`      (query, document) pairs -> one request a query, and scores back in the order of the pairs

Torch is imported only from here on:

13. `attention`  one signature, several kernels
14. `batch`      a planned pass -> tensors
15. `model`      the packed forward pass over the modules that transformers loaded
16. `float32`    a 16-bit model as a float32 one, a layer at a time, for scores that overflowed
17. `quantization`  the layers' weights in 8 or 4 bits, where that was asked for
18. `shape`      the sizes of a model, and the memory that follows from them
19. `weights`    settings -> those modules, on their device, in their dtype
20. `head`       last hidden states -> yes/no log-odds in float32
21. `budget`     how many tokens of one pass fit in memory
22. `passes`     a planned pass -> its log-odds: batch, model and head in a row
23. `worker`     the one thread that runs passes for everybody who waits
24. `local`      the whole line behind the seam
"""
