"""`python -m streams.inspect`: looks at the rows of streams workers, and says what a number is made of.

It reads the workers' databases as they lie on the disk, while the workers run, and Kafka. It changes nothing.
"""
