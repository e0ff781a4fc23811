"""The scoring engine, station by station, in reading order.

A request travels in one straight line; each station is one file and one idea:

1. `settings`    what to load and how: frozen, strict
2. `request`     what is asked: one query, its documents, an instruction
3. `prompt`      request -> typed parts, control tokens apart from text
4. `checkpoint`  a model's name -> the folder that holds its files
5. `tokens`      prompt -> ids: one shared prefix, one tail a document, receipts for what was cut
6. `windows`     a text that does not fit -> overlapping windows that do
7. `packing`     lengths -> passes under a token budget, in plain ints
8. `dispatch`    lengths of a request -> parts for several devices, in plain ints
9. `scorer`      the seam: a request in, log-odds out; local, remote and fake engines implement it
10. `reading`    a request -> ids, long documents read as it asks; log-odds of windows -> those of documents
11. `results`    log-odds -> ranked documents
12. `receipts`   what was cut or computed twice -> one line in the log
13. `pairs`      (query, document) pairs -> one request a query, and scores back in the order of the pairs

Torch is imported only from here on:

14. `attention`  one signature, several kernels
15. `batch`      a planned pass -> tensors
16. `model`      the packed forward pass over the modules that transformers loaded
17. `float32`    a 16-bit model as a float32 one, a layer at a time, for scores that overflowed
18. `quantization`  the layers' weights in 8 or 4 bits, where that was asked for
19. `shape`      the sizes of a model, and the memory that follows from them
20. `device_map` a model that is too large for one GPU -> which layers go to which
21. `weights`    settings -> those modules, on their device, in their dtype
22. `head`       last hidden states -> yes/no log-odds in float32
23. `budget`     how many tokens of one pass fit in memory
24. `passes`     a planned pass -> its log-odds: batch, model and head in a row
25. `worker`     the one thread that runs passes for everybody who waits
26. `replicas`   several of them, each with a model of its own, behind one door
27. `local`      the whole line behind the seam
"""
