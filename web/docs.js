// The API to read and to try: Swagger UI on this service's own OpenAPI document.

window.SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#routes',
  deepLinking: true,
  showExtensions: true,
  presets: [window.SwaggerUIBundle.presets.apis],
});
