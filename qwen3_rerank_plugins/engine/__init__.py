"""The scoring engine, station by station, in reading order.

A request travels in one straight line; each station is one file and one idea:

1. `names`        what a user calls a model -> a name that means the same from every directory
2. `lifetime`     when this process may load a model, and when it may wait for the thread of one
3. `threads`      a thread that starts, or an error that says why it cannot
4. `settings`     what to load and how: frozen, strict
5. `request`      what is asked: one query, its documents, an instruction
6. `prompt`       request -> typed parts, control tokens apart from text
7. `hub`          a hub id -> the folder of its snapshot
8. `files`        a file of a checkpoint -> its content, or what stands in its place
9. `adapter`      a LoRA adapter -> the base it belongs over
10. `formats`     a folder without weights that are read -> what it holds instead
11. `inventory`   weight files -> names, dtypes and shapes, from their headers
12. `sizes`       a config.json -> sizes that are those of the weights
13. `stored`      a config.json -> how the weights in the files are quantized
14. `rope`        a config.json -> how far positions reach, and which prompts may share a prefix
15. `checkpoint`  a model's name -> the folder that holds its files
16. `damage`      weight files -> which tensors hold NaN or infinity
17. `blueprint`   a tokenizer.json -> one that the tokenizers library can be trusted with
18. `tokens`      prompt -> ids: one shared prefix, one tail a document, receipts for what was cut
19. `windows`     a text that does not fit -> overlapping windows that do
20. `packing`     lengths -> passes under a token budget, in plain ints
21. `dispatch`    lengths of a request -> parts for several devices, in plain ints
22. `recovery`    passes that ran out of memory or did not -> the token budget at the moment, in plain ints
23. `lanes`       the threads on which asynchronous calls are tokenized
24. `waiting`     a future of a thread -> awaited, under asyncio or trio
25. `scorer`      the seam: a request in, log-odds out; local, remote and fake engines implement it
26. `call`        the requests of one call: all of them answered, or none runs for nobody
27. `reading`     a request -> ids, long documents read as it asks; log-odds of windows -> those of documents
28. `results`     log-odds -> ranked documents
29. `receipts`    what was cut or computed twice -> one line in the log
30. `pairs`       (query, document) pairs -> one request a query, and scores back in the order of the pairs
31. `control_groups` the folders that hold the limits of a container

Torch is imported only from here on:

32. `layout`      who attends to whom: segments, their parts, their padded_groups
33. `attention`   one signature, several kernels
34. `batch`       a planned pass -> tensors
35. `rotation`    positions -> cosines and sines, for each prompt those that it has alone
36. `tokenwise`   the halves of a layer that take every token by itself: norms, projections, rotation, MLP
37. `model`       the packed forward pass over the modules that transformers loaded
38. `float32`     a 16-bit model as a float32 one, a layer at a time, for scores that overflowed
39. `quantization` the layers' weights in 8 or 4 bits, where that was asked for
40. `unpacking`   weights that were quantized before they were saved -> layers that a pass can use
41. `merging`     a LoRA adapter -> the same change in the weights of its base
42. `shape`       the sizes of a model, and the memory that follows from them
43. `cpu_threads` how many threads of the CPU a model runs on
44. `placement`   settings -> device, dtype, attention and quantization, each with its reason
45. `device_map`  a model that is too large for one GPU -> which layers go to which
46. `quiet`       what libraries would show while a model loads -> our own log
47. `weights`     settings -> those modules, on their device, in their dtype
48. `head`        last hidden states -> yes/no log-odds in float32
49. `heap`        memory that was freed -> back to the system
50. `budget`      how many tokens of one pass fit in memory
51. `passes`      a planned pass -> its log-odds: batch, model and head in a row
52. `worker`      the one thread that runs passes for everybody who waits
53. `replicas`    several of them, each with a model of its own, behind one door
54. `local`       the whole line behind the seam
"""
