"""Parts that encoders are assembled from: plain torch, no config objects."""
