"""The scoring engine, station by station, in reading order.

A request travels in one straight line; each station is one file and one idea:

1. `names`       what a user calls a model -> a name that means the same from every directory
2. `lifetime`    when this process may load a model, and when it may wait for the thread of one
3. `settings`    what to load and how: frozen, strict
4. `request`     what is asked: one query, its documents, an instruction
5. `prompt`      request -> typed parts, control tokens apart from text
6. `hub`         a hub id -> the folder of its snapshot
7. `adapter`     a LoRA adapter -> the base it belongs over
8. `stored`      a config.json -> how the weights in the files are quantised
9. `rope`        a config.json -> how far positions reach, and which prompts may share a prefix
10. `checkpoint`  a model's name -> the folder that holds its files
11. `tokens`      prompt -> ids: one shared prefix, one tail a document, receipts for what was cut
12. `windows`     a text that does not fit -> overlapping windows that do
13. `packing`    lengths -> passes under a token budget, in plain ints
14. `dispatch`   lengths of a request -> parts for several devices, in plain ints
15. `scorer`     the seam: a request in, log-odds out; local, remote and fake engines implement it
16. `call`       the requests of one call: all of them answered, or none runs for nobody
17. `reading`    a request -> ids, long documents read as it asks; log-odds of windows -> those of documents
18. `results`    log-odds -> ranked documents
19. `receipts`   what was cut or computed twice -> one line in the log
20. `pairs`      (query, document) pairs -> one request a query, and scores back in the order of the pairs

Torch is imported only from here on:

21. `layout`     who attends to whom: segments, their parts, their bundles
22. `attention`  one signature, several kernels
23. `batch`      a planned pass -> tensors
24. `rotation`   positions -> cosines and sines, for each prompt those that it has alone
25. `tokenwise`  the halves of a layer that take every token by itself: norms, projections, rotation, MLP
26. `model`      the packed forward pass over the modules that transformers loaded
27. `float32`    a 16-bit model as a float32 one, a layer at a time, for scores that overflowed
28. `quantization`  the layers' weights in 8 or 4 bits, where that was asked for
29. `unpacking`  weights that were quantised before they were saved -> layers that a pass can use
30. `merging`    a LoRA adapter -> the same change in the weights of its base
31. `shape`      the sizes of a model, and the memory that follows from them
32. `placement`  settings -> device, dtype, attention and quantization, each with its reason
33. `device_map` a model that is too large for one GPU -> which layers go to which
34. `weights`    settings -> those modules, on their device, in their dtype
35. `head`       last hidden states -> yes/no log-odds in float32
36. `budget`     how many tokens of one pass fit in memory
37. `passes`     a planned pass -> its log-odds: batch, model and head in a row
38. `heap`       memory that was freed -> back to the system
39. `worker`     the one thread that runs passes for everybody who waits
40. `replicas`   several of them, each with a model of its own, behind one door
41. `local`      the whole line behind the seam
"""
