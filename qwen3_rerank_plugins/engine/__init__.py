"""The scoring engine, station by station, in reading order.

A request travels in one straight line; each station is one file and one idea:

1. `settings`    what to load and how: frozen, strict
2. `request`     what is asked: one query, its documents, an instruction
3. `prompt`      request -> typed parts, control tokens apart from text
4. `hub`         a hub id -> the folder of its snapshot
5. `adapter`     a LoRA adapter -> the base it belongs over
6. `stored`      a config.json -> how the weights in the files are quantised
7. `checkpoint`  a model's name -> the folder that holds its files
8. `tokens`      prompt -> ids: one shared prefix, one tail a document, receipts for what was cut
9. `windows`     a text that does not fit -> overlapping windows that do
10. `packing`    lengths -> passes under a token budget, in plain ints
11. `dispatch`   lengths of a request -> parts for several devices, in plain ints
12. `scorer`     the seam: a request in, log-odds out; local, remote and fake engines implement it
13. `call`       the requests of one call: all of them answered, or none runs for nobody
14. `reading`    a request -> ids, long documents read as it asks; log-odds of windows -> those of documents
15. `results`    log-odds -> ranked documents
16. `receipts`   what was cut or computed twice -> one line in the log
17. `pairs`      (query, document) pairs -> one request a query, and scores back in the order of the pairs

Torch is imported only from here on:

18. `layout`     who attends to whom: segments, their parts, their bundles
19. `attention`  one signature, several kernels
20. `batch`      a planned pass -> tensors
21. `tokenwise`  the halves of a layer that take every token by itself: norms, projections, rotation, MLP
22. `model`      the packed forward pass over the modules that transformers loaded
23. `float32`    a 16-bit model as a float32 one, a layer at a time, for scores that overflowed
24. `quantization`  the layers' weights in 8 or 4 bits, where that was asked for
25. `unpacking`  weights that were quantised before they were saved -> layers that a pass can use
26. `merging`    a LoRA adapter -> the same change in the weights of its base
27. `shape`      the sizes of a model, and the memory that follows from them
28. `placement`  settings -> device, dtype, attention and quantization, each with its reason
29. `device_map` a model that is too large for one GPU -> which layers go to which
30. `weights`    settings -> those modules, on their device, in their dtype
31. `head`       last hidden states -> yes/no log-odds in float32
32. `budget`     how many tokens of one pass fit in memory
33. `passes`     a planned pass -> its log-odds: batch, model and head in a row
34. `heap`       memory that was freed -> back to the system
35. `worker`     the one thread that runs passes for everybody who waits
36. `replicas`   several of them, each with a model of its own, behind one door
37. `local`      the whole line behind the seam
"""
