"""HTTP for providers of REST services, also those of other packages.

`session.Session` sends authenticated requests with retries and maps failures to this package's errors; a service is
described to it by a `wire.ApiProfile`. `wire.walk_pages` walks listings. `downloads.download` fetches a file from an
untrusted address. `requests` is imported here and nowhere else in the package.

    from mlflow_dsver.providers.http.session import Session
    from mlflow_dsver.providers.http.wire import ApiError, ApiProfile

    def read_error(status, body):
        return ApiError(body["error"]) if status >= 400 and isinstance(body, dict) and "error" in body else None

    PROFILE = ApiProfile("mydata", "Bearer", "MYDATA_TOKEN", read_error)

    with Session("https://mydata.example/v1", PROFILE, key) as session:
        found = session.call("GET", ("datasets", dataset, "versions"), "list versions")
"""
