import { loadEnv } from "vite";
import { defineConfig } from "vitest/config";

// `npm run dev` beside a lobby that listens elsewhere: LOBBY=http://127.0.0.1:8080 npm run dev
const { LOBBY: lobby } = loadEnv("development", ".", "LOBBY");

export default defineConfig({
  build: {
    target: "es2022",
    // The page is served under a strict Content-Security-Policy: everything is a file of its own.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    // With the Host as it was: the lobby answers only where it is that of the page's own origin.
    proxy: lobby ? { "/api": { target: lobby, changeOrigin: false }, "/socket.io": { target: lobby, ws: true } } : {},
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
