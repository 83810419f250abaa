"""The service: an HTTP API over saved recommenders, what people did with its lists, and a web page.

Data flow one way: store <- live (recommenders as they are now) <- engine (queue and batches) <- learning, experiments
<- service (all of it as one object) <- http <- API and page.
"""
