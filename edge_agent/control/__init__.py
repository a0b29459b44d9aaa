"""Runtime control: overrides of the config, command handlers, schedules, source controllers and their MQTT side."""
