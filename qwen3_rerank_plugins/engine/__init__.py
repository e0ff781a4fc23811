"""The scoring engine, station by station, in reading order.

A request travels in one straight line; each station is one file and one idea:

1. `names`        what a user calls a model -> a name that means the same from every directory
2. `lifetime`     when this process may load a model, and when it may wait for the thread of one
3. `settings`     what to load and how: frozen, strict
4. `request`      what is asked: one query, its documents, an instruction
5. `prompt`       request -> typed parts, control tokens apart from text
6. `hub`          a hub id -> the folder of its snapshot
7. `files`        a file of a checkpoint -> its content, or what stands in its place
8. `adapter`      a LoRA adapter -> the base it belongs over
9. `formats`      a folder without weights that are read -> what it holds instead
10. `inventory`   weight files -> names, dtypes and shapes, from their headers
11. `sizes`       a config.json -> sizes that are those of the weights
12. `stored`      a config.json -> how the weights in the files are quantized
13. `checkpoint`  a model's name -> the folder that holds its files
14. `damage`      weight files -> which tensors hold NaN or infinity
15. `blueprint`   a tokenizer.json -> one that the tokenizers library can be trusted with
16. `tokens`      prompt -> ids: one shared prefix, one tail a document, receipts for what was cut
17. `windows`     a text that does not fit -> overlapping windows that do
18. `packing`     lengths -> passes under a token budget, in plain ints
19. `dispatch`    lengths of a request -> parts for several devices, in plain ints
20. `recovery`    passes that ran out of memory or did not -> the token budget at the moment, in plain ints
21. `threads`     a thread that starts, or an error that says why it cannot
22. `lanes`       the threads on which asynchronous calls are tokenized
23. `waiting`     a future of a thread -> awaited, under asyncio or trio
24. `scorer`      the seam: a request in, log-odds out; local, remote and fake engines implement it
25. `call`        the requests of one call: all of them answered, or none runs for nobody
26. `reading`     a request -> ids, long documents read as it asks; log-odds of windows -> those of documents
27. `results`     log-odds -> ranked documents
28. `receipts`    what was cut or computed twice -> one line in the log
29. `pairs`       (query, document) pairs -> one request a query, and scores back in the order of the pairs

Torch is imported only from here on:

30. `layout`      who attends to whom: segments, their parts, their bundles
31. `attention`   one signature, several kernels
32. `batch`       a planned pass -> tensors
33. `tokenwise`   the halves of a layer that take every token by itself: norms, projections, rotation, MLP
34. `model`       the packed forward pass over the modules that transformers loaded
35. `float32`     a 16-bit model as a float32 one, a layer at a time, for scores that overflowed
36. `quantization` the layers' weights in 8 or 4 bits, where that was asked for
37. `unpacking`   weights that were quantized before they were saved -> layers that a pass can use
38. `merging`     a LoRA adapter -> the same change in the weights of its base
39. `shape`       the sizes of a model, and the memory that follows from them
40. `placement`   settings -> device, dtype, attention and quantization, each with its reason
41. `device_map`  a model that is too large for one GPU -> which layers go to which
42. `weights`     settings -> those modules, on their device, in their dtype
43. `head`        last hidden states -> yes/no log-odds in float32
44. `heap`        memory that was freed -> back to the system
45. `budget`      how many tokens of one pass fit in memory
46. `passes`      a planned pass -> its log-odds: batch, model and head in a row
47. `worker`      the one thread that runs passes for everybody who waits
48. `replicas`    several of them, each with a model of its own, behind one door
49. `local`       the whole line behind the seam
"""
