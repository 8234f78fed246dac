"""Who the appliance talks to: an OpenAI Realtime session (GA protocol) over WebSocket."""
