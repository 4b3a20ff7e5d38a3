"""Chat: questions to a chat model behind an OpenAI-compatible endpoint.

`ask` is the entry: questions go in, replies come out in the same order. `conversations` asks each question once, from
the cache where it can; `one_by_one` and `batches` are the two ways to an endpoint. `http/` is one request, `cache/`
keeps replies that were paid for, and `money/` knows prices, limits what a step spends, and estimates it beforehand.
"""
