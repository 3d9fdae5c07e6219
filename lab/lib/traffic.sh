traffic_program() { :; }
