"""Methods of the peft library as algorithms: `peft:oft`, `peft:hra`, `peft:vera` ..."""
