// The API documentation: Redoc with this service's OpenAPI document.

window.Redoc.init('openapi.json', {}, document.getElementById('routes'));
