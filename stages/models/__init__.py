"""Find, check, load, sample from and save models and tokenizers; run vLLM engines in processes of their own."""
