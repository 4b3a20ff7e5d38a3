"""Chat: questions to a chat model behind an OpenAI-compatible endpoint.

`ask` is the entry: questions go in, replies come out in the same order. From a stage's question to the socket there are
six functions, for questions that are asked one by one:

    event_loop  iterate, _run     the caller's iterator, and the event loop in a thread of its own
    one_by_one  hold              draws the next conversation when its first questions may be sent
                talk              asks what one conversation asks; equal and cached questions are answered by `call`
                answer            claims, limits, budget, tries
    http        Endpoint.send     one request

`rounds` and `batches` do the same by the provider's batches. `http/` is one request and its response, `cache/` keeps
the replies that were paid for, and `money/` knows prices, limits what a step spends, and estimates it beforehand.
"""
