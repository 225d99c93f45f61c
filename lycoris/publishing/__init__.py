"""Published adapters: a folder, or a repository on the Hugging Face hub, that other people and programs can use."""
