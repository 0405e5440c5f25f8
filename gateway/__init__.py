"""The REST face of the mesh: transcodes HTTP and JSON to gRPC from a descriptor set, and knows no domain.

- A path to a rule: scanner, parser, percent, router; routes takes the rules from the descriptor set, finding one for a
  request. api is all that one descriptor set makes.
- A request to a message: content, fields, parameters, json_text, body, raw_bodies, masks; binding puts them together.
- The call and its end: metadata, upstream, outcome, rendering; stale stands in for it; refusal and failures are the
  one shape of every failure.
- The answer: delivery for one message, streaming and frames for many.
- HTTP around it: listener (limits before any handler), server, cors, sessions, health, openapi; process builds it all
  from settings, workers shares its port.
"""
