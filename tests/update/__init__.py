"""Updates: pure rules, a real HTTPS server, real RAUC on slots that are files, a real FAT selector."""
