// Java's HttpClient and its TLS: Get.java http URL TIMES | Get.java https ADDRESS PORT NAME

import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;

class Get {
	public static void main(String[] args) throws Exception {
		if (args[0].equals("http")) {
			HttpClient client = HttpClient.newHttpClient();
			for (int n = 1; n <= Integer.parseInt(args[2]); n++) {
				URI uri = URI.create(args[1] + "/" + n);
				client.send(HttpRequest.newBuilder(uri).build(), BodyHandlers.discarding());
			}
			return;
		}
		Socket plain = new Socket(args[1], Integer.parseInt(args[2]));
		SSLSocketFactory factory = (SSLSocketFactory) SSLSocketFactory.getDefault();
		try (SSLSocket socket = (SSLSocket) factory.createSocket(plain, args[3], 443, true)) {
			socket.startHandshake();
		} catch (SSLException e) {
			// It trusts no one who signs his own certificate, and has said hello.
		}
	}
}
