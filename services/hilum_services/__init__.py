"""The processes that listen: inference, control and the Label Studio bridge."""
