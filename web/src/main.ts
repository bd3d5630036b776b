import { io } from "socket.io-client";
import { App } from "./app";

// One socket for everything, on the origin that served the page. `Line` dials it.
const socket = io({ path: "/socket.io/", transports: ["websocket"], autoConnect: false, reconnection: false });
new App(socket).start();
