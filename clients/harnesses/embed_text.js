// An open loop of EmbedText calls. What k6 knows of the API, it learns from the server.
import { check } from 'k6';
import grpc from 'k6/net/grpc';

const address = __ENV.VECSERVE_ADDRESS || '127.0.0.1:50051';
const texts = ['a cat on a mat', 'a dog in the fog, barking at nobody in particular'];
const client = new grpc.Client();

export const options = {
  scenarios: {
    open: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE || 20),
      duration: __ENV.DURATION || '5s',
      preAllocatedVUs: 32,
    },
  },
  thresholds: { checks: ['rate==1'], dropped_iterations: ['count==0'] },
};

export default function () {
  if (__ITER === 0) {
    client.connect(address, { plaintext: true, reflect: true });
  }
  const request = { texts: [texts[__ITER % texts.length]] };
  const response = client.invoke('vecserve.v1.EmbeddingService/EmbedText', request, { timeout: '2s' });
  check(response, { 'is answered': ({ status }) => status === grpc.StatusOK });
}
