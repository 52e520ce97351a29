"""Events as they come: from a followed file, Redis Streams or Kafka, to Parquet or to a server.

``sources`` read from a position on, ``sinks`` keep what came together with the position after it,
so that whoever is killed goes on where what he wrote ends.
"""
